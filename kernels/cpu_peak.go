package kernels

// FMAs runs n turns of the densest loop of multiply-adds that dev's variant of kernels has, on the calling thread, and returns how
// many floating-point operations that were. Divided by the time taken, it is the ceiling of every product of that variant. A device
// that has no such loop returns 0.
func FMAs(dev Device, n int) (flop float64) {
	d, ok := dev.(*cpu)
	if !ok || n <= 0 {
		return 0
	}
	return float64(n) * d.v.peak(n)
}

//lint:ignore U1000 goPeak writes it, so that its work is not compiled away; nobody reads it
var sink float32

// goPeak does n turns of 16 operations in 8 chains.
func goPeak(n int) float64 {
	var a [8]float32
	x, y := float32(0.5), float32(0.25)
	for range n {
		a[0] = float32(a[0]*x) + y
		a[1] = float32(a[1]*x) + y
		a[2] = float32(a[2]*x) + y
		a[3] = float32(a[3]*x) + y
		a[4] = float32(a[4]*x) + y
		a[5] = float32(a[5]*x) + y
		a[6] = float32(a[6]*x) + y
		a[7] = float32(a[7]*x) + y
	}
	if a[0]+a[1]+a[2]+a[3]+a[4]+a[5]+a[6]+a[7] < 0 {
		sink = a[0]
	}
	return 16
}
