package analyzer

import "testing"

// TestSlices: all of every shard is judged by somebody, once, and each analyzer has as much as any other.
func TestSlices(t *testing.T) {
	for shards := 1; shards <= 7; shards++ {
		for analyzers := 1; analyzers <= 9; analyzers++ {
			parts, where := make([]int, analyzers), make([]int, analyzers)
			for shard := range shards {
				next := 0
				for analyzer := range analyzers {
					s := sliceOf(analyzer, analyzers, shard, shards)
					if s.Of != analyzers || s.To < s.From {
						t.Fatalf("analyzer %d of %d on shard %d of %d: %+v", analyzer, analyzers, shard, shards, s)
					}
					if s.To == s.From {
						continue
					}
					if s.From != next {
						t.Errorf("analyzer %d of %d on shard %d of %d begins at %d and not at %d", analyzer, analyzers, shard, shards, s.From, next)
					}
					next = s.To
					parts[analyzer] += s.To - s.From
					where[analyzer]++
				}
				if next != analyzers {
					t.Errorf("of shard %d of %d, %d analyzers have %d parts", shard, shards, analyzers, next)
				}
			}
			for analyzer := range analyzers {
				if most := (shards+analyzers-1)/analyzers + 1; parts[analyzer] != shards || where[analyzer] > most {
					t.Errorf("analyzer %d of %d has %d parts of %d shards, on %d", analyzer, analyzers, parts[analyzer], shards, where[analyzer])
				}
			}
		}
	}
}
