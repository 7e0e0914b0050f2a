package lineage

import "crypto/sha256"

// Digest returns a hash of what the files of a lineage hold, each read once and
// none parsed. For a file that cannot be read the reason is hashed. It is the
// same for files that nobody has written to in between.
func Digest(l Lineage) [sha256.Size]byte {
	all := sha256.New()
	files := openFiles(l, Root.store)
	defer files.close()
	for _, path := range []string{l.Fullchain, l.Chain, l.Key} {
		text := []byte(nil)
		if path != "" {
			got, err := files.read(path, "")
			if text = got.data; err != nil {
				text = []byte(err.Error())
			}
		}
		one := sha256.Sum256(text)
		all.Write(one[:])
	}
	return [sha256.Size]byte(all.Sum(nil))
}
