// Package spelling guesses which word was meant by one that is not known.
package spelling

import "fmt"

// Advice returns the question whether the nearest known word was meant, or else
// other advice where none is near.
func Advice(written string, known []string, otherwise string) string {
	if near := Nearest(written, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return otherwise
}

// Nearest returns the word that was probably meant: the known one that differs
// from what was written by the fewest letters, two at most and fewer than half
// of them; empty: none is near.
func Nearest(written string, known []string) string {
	found, least := "", min(2, (len(written)-1)/2)
	for _, word := range known {
		if len(written) > len(word)+least {
			continue
		}
		if d := distance(written, word); d <= least && (found == "" || d < least) {
			found, least = word, d
		}
	}
	return found
}

// distance returns the number of letters to insert, remove or replace to make
// one word of the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substituted := diagonal
			if a[i] != b[j] {
				substituted++
			}
			diagonal = row[j+1]
			row[j+1] = min(substituted, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
