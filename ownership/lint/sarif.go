package lint

import (
	"encoding/json"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
)

// resultsMax is how many results the hosts of code take; beyond it errors come first.
const resultsMax = 25_000

// The parts of SARIF 2.1.0 that are written.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID                   string    `json:"id"`
		ShortDescription     sarifText `json:"shortDescription"`
		DefaultConfiguration struct {
			Level Severity `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID           string          `json:"ruleId"`
		RuleIndex        int             `json:"ruleIndex"`
		Level            Severity        `json:"level"`
		Message          sarifText       `json:"message"`
		Locations        []sarifLocation `json:"locations"`
		RelatedLocations []sarifLocation `json:"relatedLocations,omitempty"`
	}
	sarifLocation struct {
		PhysicalLocation struct {
			ArtifactLocation sarifArtifact `json:"artifactLocation"`
			Region           struct {
				StartLine int `json:"startLine"`
			} `json:"region"`
		} `json:"physicalLocation"`
		Message *sarifText `json:"message,omitempty"`
	}
	sarifArtifact struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId,omitempty"`
	}
)

// WriteSARIF writes findings as SARIF 2.1.0. Files are relative to the root of the repository, or else absolute.
func WriteSARIF(w io.Writer, version string, findings []Finding) error {
	run := sarifRun{ColumnKind: "utf16CodeUnits", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "whosehop", Version: version, InformationURI: "https://github.com/whosehop/whosehop"}
	for _, r := range Rules {
		rule := sarifRule{ID: r.ID, ShortDescription: sarifText{r.Short}}
		rule.DefaultConfiguration.Level = r.Severity
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rule)
	}
	if len(findings) > resultsMax {
		findings = slices.Clone(findings)
		slices.SortStableFunc(findings, func(a, b Finding) int { return strings.Compare(string(a.Severity), string(b.Severity)) })
		findings = findings[:resultsMax]
	}
	for i := range findings {
		f := &findings[i]
		result := sarifResult{
			RuleID: f.Rule, RuleIndex: slices.IndexFunc(Rules, func(r Rule) bool { return r.ID == f.Rule }), Level: f.Severity,
			Message: sarifText{f.Message}, Locations: []sarifLocation{location(f.File, f.Line)},
		}
		if f.Other != nil {
			other := location(f.Other.File, f.Other.Line)
			other.Message = &sarifText{"the other record"}
			result.RelatedLocations = []sarifLocation{other}
		}
		run.Results = append(run.Results, result)
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", " ")
	return out.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

// location is a place in a file. A finding about a whole file is shown at its first line.
func location(file string, line int) (l sarifLocation) {
	uri := url.URL{Path: path.Clean(strings.ReplaceAll(file, `\`, "/"))}
	l.PhysicalLocation.ArtifactLocation = sarifArtifact{URI: uri.String(), URIBaseID: "%SRCROOT%"}
	if path.IsAbs(uri.Path) {
		uri.Scheme = "file"
		l.PhysicalLocation.ArtifactLocation = sarifArtifact{URI: uri.String()}
	}
	l.PhysicalLocation.Region.StartLine = max(line, 1)
	return l
}
