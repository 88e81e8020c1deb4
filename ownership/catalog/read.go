package catalog

import (
	"fmt"
	"os"
)

// Options say how sources are read.
type Options struct {
	// Labels of Kubernetes manifests that name an owner; nil is those that are usual.
	Labels []string
}

// Read reads files, and all files of folders and those below them that a reader knows. An error is a path that cannot be
// read; what is wrong within a file is a problem.
func Read(paths []string, o Options) (records []Record, problems []Problem, err error) {
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, fmt.Errorf("read a catalog: %w", err)
		}
		r, p := Own(path, data)
		records, problems = append(records, r...), append(problems, p...)
	}
	return records, problems, nil
}
