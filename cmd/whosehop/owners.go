package main

import (
	"errors"
	"fmt"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

type ownersCmd struct {
	Import    ownersImportCmd    `cmd:"" help:"Read catalogs of all formats, and print them in the registry's own."`
	Lint      ownersLintCmd      `cmd:"" help:"Find what is wrong with catalogs, for CI."`
	Apply     ownersApplyCmd     `cmd:"" help:"Make the registry of the server what files say."`
	Resolve   ownersResolveCmd   `cmd:"" help:"Say who owns a service, a peer or an edge, and why."`
	Coverage  ownersCoverageCmd  `cmd:"" help:"Say what runs without a real owner, and who might be one."`
	Handovers ownersHandoversCmd `cmd:"" help:"List what changed hands."`
}

// config says how records become a registry.
func (o *ownershipSettings) config() ownership.Config {
	return ownership.Config{Precedence: o.Precedence, Attributes: o.Attributes}
}

// options say how files are read.
func (o *ownershipSettings) options() catalog.Options { return catalog.Options{Labels: o.Labels} }

// load makes a registry of files; without a path it has nothing but what spans say.
func (o *ownershipSettings) load(path string) (*ownership.Registry, error) {
	records, err := o.read(path)
	if err != nil {
		return nil, err
	}
	return ownership.Compile(records, o.config()), nil
}

// read reads files, all of them well; nil without a path.
func (o *ownershipSettings) read(path string) ([]catalog.Record, error) {
	if path == "" {
		return nil, nil
	}
	records, problems, err := catalog.Read([]string{path}, o.options())
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
	return append([]catalog.Record{}, records...), nil
}
