package catalog

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// repositoryRoot is the folder that the patterns of a file are relative to: the one that it is in, or the one above, for
// CODEOWNERS in a folder that forges look into.
func repositoryRoot(file string) string {
	dir := path.Dir(file)
	switch path.Base(dir) {
	case ".github", ".gitlab", "docs":
		if path.Base(file) == "CODEOWNERS" {
			return path.Dir(dir)
		}
	}
	return dir
}

// gitConfigBytesMax bounds what is read of a clone's configuration.
const gitConfigBytesMax = 64 << 10

// originOf is the address of the repository that a folder is a clone of, as the clone has it, or nothing.
func originOf(root string) string {
	f, err := os.Open(filepath.Join(root, ".git", "config")) //nolint:gosec // in a folder that the user names
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	data := make([]byte, gitConfigBytesMax)
	n, _ := f.Read(data)
	origin := false
	for lines := bufio.NewScanner(bytes.NewReader(data[:n])); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			origin = line == `[remote "origin"]`
		}
		if key, url, ok := strings.Cut(line, "="); origin && ok && strings.TrimSpace(key) == "url" {
			return cut(tidy(webAddress(strings.TrimSpace(url))), linkBytesMax)
		}
	}
	return ""
}

var scpAddress = regexp.MustCompile(`^(?:[\w.-]+@)?([\w.-]+):([^/].*)$`)

// webAddress is where a browser finds what git clones from.
func webAddress(url string) string {
	url = strings.TrimSuffix(strings.TrimSuffix(url, "/"), ".git")
	if !strings.Contains(url, "://") {
		if m := scpAddress.FindStringSubmatch(url); m != nil {
			return "https://" + m[1] + "/" + m[2]
		}
		return url
	}
	if rest, ok := strings.CutPrefix(url, "ssh://"); ok {
		_, host, with := strings.Cut(rest, "@")
		if with {
			rest = host
		}
		return "https://" + rest
	}
	return url
}
