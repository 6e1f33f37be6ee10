package kernels

// The kernels of cpu_dot_amd64.s.

//go:noescape
func dot1(t *tile)

//go:noescape
func dot2(t *tile)

//go:noescape
func dot3(t *tile)

//go:noescape
func dot4(t *tile)

//go:noescape
func dot5(t *tile)

//go:noescape
func dot6(t *tile)

//go:noescape
func dot7(t *tile)

//go:noescape
func dot8(t *tile)

//go:noescape
func dot9(t *tile)

//go:noescape
func dot10(t *tile)

//go:noescape
func dot11(t *tile)

//go:noescape
func dot12(t *tile)

//go:noescape
func dotTwo1(t *tile)

//go:noescape
func dotTwo2(t *tile)

//go:noescape
func dotTwo3(t *tile)

//go:noescape
func dotTwo4(t *tile)

//go:noescape
func dotTwo5(t *tile)

//go:noescape
func dotTwo6(t *tile)

//go:noescape
func dotTwo7(t *tile)

//go:noescape
func dotTwo8(t *tile)

//go:noescape
func dotTwo9(t *tile)

//go:noescape
func dotTwo10(t *tile)

//go:noescape
func dotTwo11(t *tile)

//go:noescape
func dotTwo12(t *tile)

//go:noescape
func dotLong(t *tile)
