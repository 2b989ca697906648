//go:build unix

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// smallDiskBytes is more than a node needs during a run.
const smallDiskBytes = 256 << 20

// CanMount says whether this machine lets us mount a file system of limited size, and why not.
func CanMount(dir string) error {
	if err := mountTmpfs(dir); err != nil {
		return err
	}
	return unmount(dir)
}

func mountTmpfs(dir string) error {
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", smallDiskBytes), "braid-faults", dir).
		CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount a small file system: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func unmount(dir string) error {
	out, err := exec.Command("umount", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("umount %s: %w: %s", dir, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (c *cluster) mount(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := mountTmpfs(dir); err != nil {
		return err
	}
	c.mounted = dir
	return nil
}

// unmount keeps what was on the small disk, for who looks into a failed run.
func (c *cluster) unmount() error {
	if c.mounted == "" {
		return nil
	}
	err := c.free()
	return errors.Join(err, os.CopyFS(c.mounted+".kept", os.DirFS(c.mounted)), unmount(c.mounted))
}

func (c *cluster) ballast() string { return filepath.Join(c.mounted, "ballast") }

// fill leaves no byte free on the small disk.
func (c *cluster) fill() error {
	f, err := os.Create(c.ballast())
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		_, err = f.Write(block)
		if err != nil { // the last bytes in ever smaller pieces
			block = block[:len(block)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func (c *cluster) free() error {
	if err := os.Remove(c.ballast()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
