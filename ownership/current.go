package ownership

import "sync/atomic"

// Current is the registry that is in force. It can be replaced while it is asked. The zero value knows nothing.
type Current struct{ registry atomic.Pointer[Registry] }

var empty = Compile(nil, Config{})

// Registry is the one in force.
func (c *Current) Registry() *Registry {
	if r := c.registry.Load(); r != nil {
		return r
	}
	return empty
}

// Set puts a registry in force.
func (c *Current) Set(r *Registry) { c.registry.Store(r) }

// Resolve asks the one in force.
func (c *Current) Resolve(q *Question) Answer { return c.Registry().Resolve(q) }
