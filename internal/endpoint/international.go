package endpoint

import (
	"slices"
	"strconv"
	"strings"
)

// This file is about international names. The DNS, certificates and SNI have them as
// A-labels, xn-- and ASCII (RFC 5890 section 2.3.2.1, RFC 6066 section 3); XMPP has them as
// U-labels, in their own letters (RFC 7622 section 3.2).

// acePrefix begins an A-label.
const acePrefix = "xn--"

// ASCII returns the name of a host as the DNS has it, in lower case and without a
// closing dot, and reports whether it is one. It takes any letters as they are:
// combining accents, for which normal forms would have to be known, are refused.
func ASCII(name string) (string, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if IsHost(name) {
		return name, true
	}
	labels := strings.Split(name, ".")
	for i, label := range labels {
		runes := []rune(label)
		if !slices.ContainsFunc(runes, func(r rune) bool { return r >= initialN }) {
			continue
		}
		if slices.ContainsFunc(runes, func(r rune) bool { return !strconv.IsPrint(r) || r == '\uFFFD' || r >= 0x300 && r < 0x370 }) || len(runes) > 63 {
			return "", false
		}
		labels[i] = acePrefix + encode(runes)
	}
	name = strings.Join(labels, ".")
	return name, IsHost(name)
}

// Unicode returns the name of a host with its A-labels in their own letters. What is no
// A-label in lower case stays as it is.
func Unicode(name string) string {
	labels := strings.Split(name, ".")
	for i, label := range labels {
		if encoded, is := strings.CutPrefix(label, acePrefix); is && len(label) <= 63 {
			own := string(decode(encoded))
			if again, _ := ASCII(own); again == label { // as RFC 5891 section 5.4 wants it
				labels[i] = own
			}
		}
	}
	return strings.Join(labels, ".")
}

// The parameters of Punycode (RFC 3492 section 5).
const (
	base, tMin, tMax      = 36, 1, 26
	skew, damp            = 38, 700
	initialBias           = 72
	initialN         rune = 0x80
)

const digits = "abcdefghijklmnopqrstuvwxyz0123456789"

// adapt returns the next bias (RFC 3492 section 6.1).
func adapt(delta, points int, first bool) int {
	if first {
		delta /= damp
	} else {
		delta /= 2
	}
	delta += delta / points
	k := 0
	for ; delta > (base-tMin)*tMax/2; k += base {
		delta /= base - tMin
	}
	return k + (base-tMin+1)*delta/(delta+skew)
}

func threshold(k, bias int) int { return min(max(k-bias, tMin), tMax) }

// encode returns the Punycode of a label (RFC 3492 section 6.3), which is short enough
// for nothing to overflow.
func encode(label []rune) string {
	var out []byte
	for _, r := range label {
		if r < initialN {
			out = append(out, byte(r))
		}
	}
	basic := len(out)
	if basic > 0 {
		out = append(out, '-')
	}
	n, delta, bias := initialN, 0, initialBias
	for done := basic; done < len(label); n++ {
		next := rune(0x7fffffff)
		for _, r := range label {
			if r >= n {
				next = min(next, r)
			}
		}
		delta += int(next-n) * (done + 1)
		n = next
		for _, r := range label {
			switch {
			case r < n:
				delta++
			case r == n:
				q := delta
				for k := base; ; k += base {
					t := threshold(k, bias)
					if q < t {
						break
					}
					out = append(out, digits[t+(q-t)%(base-t)])
					q = (q - t) / (base - t)
				}
				out = append(out, digits[q])
				bias = adapt(delta, done+1, done == basic)
				delta = 0
				done++
			}
		}
		delta++
	}
	return string(out)
}

// decode returns the label of some Punycode (RFC 3492 section 6.2); nil: it is none.
func decode(encoded string) []rune {
	at := strings.LastIndexByte(encoded, '-')
	label := []rune(encoded[:max(at, 0)])
	n, i, bias := initialN, 0, initialBias
	for rest := encoded[at+1:]; rest != ""; i++ {
		before := i
		for k, weight := base, 1; ; k += base {
			if rest == "" || weight > 1<<24 {
				return nil
			}
			digit := strings.IndexByte(digits, rest[0])
			if digit < 0 {
				return nil
			}
			rest = rest[1:]
			i += digit * weight
			t := threshold(k, bias)
			if digit < t {
				break
			}
			weight *= base - t
		}
		points := len(label) + 1
		bias = adapt(i-before, points, before == 0)
		n += rune(i / points)
		i %= points
		if n > 0x10ffff {
			return nil
		}
		label = slices.Insert(label, i, n)
	}
	return label
}
