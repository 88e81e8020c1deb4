package stored

import "context"

// ApplyFile is what Run does now and then.
func (r *Registry) ApplyFile(ctx context.Context) { r.applyFile(ctx) }
