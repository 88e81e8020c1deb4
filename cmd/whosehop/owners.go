package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

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

// problemsMost is how many problems of a folder are told.
const problemsMost = 20

// load makes a registry of a file or a folder; without a path it has nothing but what spans say. Of a folder, what is wrong
// is told and the others count: real trees always have some.
func (o *ownershipSettings) load(path string, tell io.Writer) (*ownership.Registry, error) {
	if path == "" {
		return ownership.Compile(nil, o.config()), nil
	}
	records, problems, err := catalog.Read([]string{path}, o.options())
	if err != nil {
		return nil, fmt.Errorf("read owners: %w", err)
	}
	if about, err := os.Stat(path); err != nil || !about.IsDir() || len(records) == 0 {
		if err := allOf(problems); err != nil {
			return nil, err
		}
	}
	for i, p := range problems {
		if i == problemsMost {
			_, _ = fmt.Fprintf(tell, "%d more are wrong; whosehop owners lint lists them\n", len(problems)-problemsMost)
			break
		}
		_, _ = fmt.Fprintln(tell, p)
	}
	return ownership.Compile(records, o.config()), nil
}

// allOf is what is wrong, as one error; nil if nothing is.
func allOf(problems []catalog.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	wrong := []error{errors.New("read owners:")}
	for _, p := range problems {
		wrong = append(wrong, errors.New(p.String()))
	}
	return errors.Join(wrong...)
}

// read is what a file or a folder says, nil without a path. A file has to be right. Of a folder, what is wrong is logged, what
// the broken files said before stays, and the others count: no role stops for a line.
func (o *ownershipSettings) read(path string, log *slog.Logger) (*ownership.Wanted, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // nothing is wanted
	}
	records, problems, err := catalog.Read([]string{path}, o.options())
	if err != nil {
		return nil, fmt.Errorf("read owners: %w", err)
	}
	if about, err := os.Stat(path); err != nil || !about.IsDir() {
		if err := allOf(problems); err != nil {
			return nil, err
		}
	}
	for i, p := range problems {
		if i == problemsMost {
			log.Warn("more of ownership.file is wrong; whosehop owners lint lists it", "problems", len(problems)-problemsMost)
			break
		}
		log.Warn("a file of ownership.file is not applied: what it said before stays", "at", catalog.Source{File: p.File, Line: p.Line}.String(), "reason", p.Reason)
	}
	if len(records) == 0 && len(problems) == 0 {
		return nil, fmt.Errorf("ownership.file: nothing in %s says who owns what, and applied it would end all that is stored", path)
	}
	records, broken := unbroken(records, problems)
	return &ownership.Wanted{Records: records, Keep: broken}, nil
}

// unbroken are the records of the files in which nothing is wrong, and the other files.
func unbroken(records []catalog.Record, problems []catalog.Problem) (rest []catalog.Record, broken []string) {
	known := make(map[string]bool)
	for _, p := range problems {
		if !known[p.File] {
			known[p.File] = true
			broken = append(broken, p.File)
		}
	}
	return slices.DeleteFunc(records, func(r catalog.Record) bool { return known[r.ReadFrom()] }), broken
}

// fromHere is a path as it is seen from the working directory, if it is below that: files are known by their paths, and a
// repository is not always checked out in the same place.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil || !filepath.IsAbs(path) {
		return path
	}
	if relative, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return path
}
