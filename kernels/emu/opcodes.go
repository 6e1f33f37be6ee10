package emu

// opcodes says how the instructions of each opcode are compiled. One that is not here does not load.
var opcodes = map[string]func(*compiler, *step){
	// Numbers.
	"mov":  lanewise((*compiler).mov),
	"cvta": lanewise((*compiler).cvta),
	"cvt":  lanewise((*compiler).cvt),
	"setp": lanewise((*compiler).setp),
	"selp": lanewise((*compiler).selp),
	"add":  lanewise((*compiler).binary),
	"sub":  lanewise((*compiler).binary),
	"min":  lanewise((*compiler).binary),
	"max":  lanewise((*compiler).binary),
	"and":  lanewise((*compiler).binary),
	"or":   lanewise((*compiler).binary),
	"xor":  lanewise((*compiler).binary),
	"div":  lanewise((*compiler).binary),
	"rem":  lanewise((*compiler).binary),
	"mul":  lanewise((*compiler).mul),
	"mad":  lanewise((*compiler).mul),
	"fma":  lanewise((*compiler).fma),

	"ex2":   lanewise((*compiler).function),
	"lg2":   lanewise((*compiler).function),
	"sin":   lanewise((*compiler).function),
	"cos":   lanewise((*compiler).function),
	"tanh":  lanewise((*compiler).function),
	"rsqrt": lanewise((*compiler).function),
	"rcp":   lanewise((*compiler).function),
	"sqrt":  lanewise((*compiler).function),

	"neg":   lanewise((*compiler).unary),
	"abs":   lanewise((*compiler).unary),
	"not":   lanewise((*compiler).unary),
	"cnot":  lanewise((*compiler).unary),
	"popc":  lanewise((*compiler).unary),
	"clz":   lanewise((*compiler).unary),
	"brev":  lanewise((*compiler).unary),
	"bfind": lanewise((*compiler).unary),
	"mapa":  lanewise((*compiler).mapa),
	"shl":   lanewise((*compiler).shift),
	"shr":   lanewise((*compiler).shift),
	"shf":   lanewise((*compiler).shf),
	"lop3":  lanewise((*compiler).lop3),
	"prmt":  lanewise((*compiler).prmt),
	"bfe":   lanewise((*compiler).bfe),
	"bfi":   lanewise((*compiler).bfi),

	// Access to memory.
	"ld":       (*compiler).load,
	"ldu":      (*compiler).load,
	"st":       (*compiler).store,
	"atom":     (*compiler).atomic,
	"red":      (*compiler).atomic,
	"cp":       (*compiler).async,
	"prefetch": (*compiler).prefetch,

	// Control.
	"bra":        (*compiler).branch,
	"ret":        (*compiler).leave,
	"exit":       (*compiler).leave,
	"trap":       (*compiler).trap,
	"brkpt":      (*compiler).trap,
	"nanosleep":  (*compiler).nanosleep,
	"setmaxnreg": (*compiler).setmaxnreg,

	// Lanes with each other, and warps.
	"shfl":       (*compiler).shfl,
	"vote":       (*compiler).vote,
	"match":      (*compiler).match,
	"redux":      (*compiler).redux,
	"activemask": (*compiler).activemask,
	"elect":      (*compiler).elect,
	"bar":        (*compiler).barrier,
	"barrier":    (*compiler).barrier,
	"mbarrier":   (*compiler).mbarrier,
	"membar":     (*compiler).fence,
	"fence":      (*compiler).fence,

	// Matrices.
	"ldmatrix": (*compiler).ldmatrix,
	"mma":      (*compiler).mma,
	"wgmma":    (*compiler).wgmma,
}

// lanewise is for instructions that work on the registers of one lane at a time.
func lanewise(f func(*compiler) exec) func(*compiler, *step) {
	return func(c *compiler, s *step) { s.run = f(c) }
}

func (c *compiler) step(s *step) {
	if f := opcodes[c.in.op]; f != nil {
		f(c, s)
		return
	}
	c.fail("the instruction is not emulated")
}
