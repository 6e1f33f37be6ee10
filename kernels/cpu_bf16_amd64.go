package kernels

func avx2Widen(dst []float32, src []uint16) {
	n := len(dst) &^ 15
	if n > 0 {
		avx2Widen16(&dst[0], &src[:n][0], n/16)
	}
	goWiden(dst[n:], src[n:])
}

func avx2Narrow(dst []uint16, src []float32) {
	n := len(dst) &^ 15
	if n > 0 {
		avx2Narrow16(&dst[0], &src[:n][0], n/16)
	}
	goNarrow(dst[n:], src[n:])
}

//go:noescape
func avx2Widen16(dst *float32, src *uint16, blocks int)

//go:noescape
func avx2Narrow16(dst *uint16, src *float32, blocks int)

//go:noescape
func avx2Pairs(dst *float32, even, odd *uint16)

//go:noescape
func paired1(t *tile)

//go:noescape
func paired2(t *tile)

//go:noescape
func paired3(t *tile)

//go:noescape
func paired4(t *tile)

//go:noescape
func paired5(t *tile)

//go:noescape
func paired6(t *tile)

//go:noescape
func pairedWide1(t *tile)

//go:noescape
func pairedWide2(t *tile)

//go:noescape
func pairedWide3(t *tile)

//go:noescape
func paired512x1(t *tile)

//go:noescape
func paired512x2(t *tile)

//go:noescape
func paired512x3(t *tile)

//go:noescape
func paired512x4(t *tile)

//go:noescape
func paired512x5(t *tile)

//go:noescape
func paired512x6(t *tile)

//go:noescape
func paired512x7(t *tile)

//go:noescape
func paired512x8(t *tile)

//go:noescape
func paired512x9(t *tile)

//go:noescape
func paired512x10(t *tile)

//go:noescape
func paired512x11(t *tile)

//go:noescape
func paired512x12(t *tile)

//go:noescape
func paired512Wide1(t *tile)

//go:noescape
func paired512Wide2(t *tile)

//go:noescape
func paired512Wide3(t *tile)
