package main

import (
	"errors"
	"fmt"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

type ownersCmd struct {
	Coverage coverageCmd `cmd:"" help:"Say what runs without a real owner, and who might be one."`
}

// config says how records become a registry.
func (o *ownershipSettings) config() ownership.Config {
	return ownership.Config{Precedence: o.Precedence, Attributes: o.Attributes}
}

// load makes a registry of files; without a path it has nothing but what spans say.
func (o *ownershipSettings) load(path string) (*ownership.Registry, error) {
	if path == "" {
		return ownership.Compile(nil, o.config()), nil
	}
	records, problems, err := catalog.Read([]string{path}, catalog.Options{})
	if err != nil {
		return nil, fmt.Errorf("read owners: %w", err)
	}
	if len(problems) > 0 {
		wrong := []error{errors.New("read owners:")}
		for _, p := range problems {
			wrong = append(wrong, errors.New(p.String()))
		}
		return nil, errors.Join(wrong...)
	}
	return ownership.Compile(records, o.config()), nil
}
