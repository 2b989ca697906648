package table

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// folderNameMax keeps a folder's name below the 255 bytes that file systems allow.
const folderNameMax = 200

// folderName is the name of a table's folder: letters, digits, `- _ .` and what is beyond ASCII stand for
// themselves, any other byte is %XX. A name that would be too long keeps its beginning and gets a hash; the whole
// name stands in the file's header.
func folderName(table string) string {
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, 2*len(table))
	for i := range len(table) {
		c := table[i]
		if plain(c) && (i > 0 || c != '.') {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	if len(b) <= folderNameMax {
		return string(b)
	}
	// "%~" starts no escape, so a shortened name is never another table's name. Only ASCII grows when it is
	// escaped, so the cut may fall into a character beyond it; the file system does not mind.
	sum := sha256.Sum256([]byte(table))
	return string(b[:folderNameMax-34]) + "%~" + hex.EncodeToString(sum[:16])
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c >= 0x80
}

func tablesDir(root string) string      { return filepath.Join(root, "tables") }
func checkpointPath(root string) string { return filepath.Join(root, "checkpoint") }
func recordsPath(folder string) string  { return filepath.Join(folder, "records") }
