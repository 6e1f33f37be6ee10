package answer

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// commands say what a LaTeX command is read as. A value that begins with a letter is a command again, by one name for all its
// variants; any other is an operator; "" is a blank.
var commands = map[string]string{
	// layout
	"left": "", "right": "", "middle": "", "big": "", "Big": "", "bigg": "", "Bigg": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "",
	"biggl": "", "biggr": "", "Biggl": "", "Biggr": "", "quad": "", "qquad": "", "thinspace": "", "enspace": "", "space": "",
	"underline": "", "large": "", "Large": "", "LARGE": "", "huge": "", "Huge": "", "small": "", "normalsize": "", "footnotesize": "",
	"displaystyle": "", "textstyle": "", "scriptstyle": "", "limits": "", "nolimits": "", "boxed": "", "fbox": "", "rm": "", "bf": "",
	"it":     "",
	"mathbf": "", "boldsymbol": "", "bm": "", "mathit": "", "mathcal": "", "mathsf": "", "ensuremath": "", "nobreak": "", "hfill": "",
	// fractions
	"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "sfrac": "frac", "nicefrac": "frac", "dbinom": "binom", "tbinom": "binom",
	// operators
	"cdot": "*", "times": "*", "ast": "*", "bullet": "*", "div": "/", "slash": "/", "pm": "±", "mp": "∓", "plusmn": "±",
	"cup": "∪", "bigcup": "∪", "cap": "∩", "bigcap": "∩", "setminus": "∖", "smallsetminus": "∖", "backslash": "∖",
	"in": "∈", "isin": "∈", "notin": "∉", "subset": "⊂", "subseteq": "⊆", "land": "∧", "wedge": "∧", "lor": "or", "vee": "or",
	"to": "→", "rightarrow": "→", "implies": "⇒", "Rightarrow": "⇒", "iff": "⇔", "Leftrightarrow": "⇔", "neg": "¬", "lnot": "¬",
	// relations
	"le": "≤", "leq": "≤", "leqslant": "≤", "leqq": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "geqq": "≥",
	"lt": "<", "gt": ">",
	"ne": "≠", "neq": "≠", "approx": "≈", "thickapprox": "≈", "approxeq": "≈", "equiv": "≡", "sim": "∼", "simeq": "≃",
	"cong": "≅",
	"perp": "⊥", "parallel": "∥", "propto": "∝",
	// brackets
	"lbrace": `\{`, "rbrace": `\}`, "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")", "vert": "|", "lvert": "|", "rvert": "|",
	"mid": "∣", "Vert": "‖", "lVert": "‖", "rVert": "‖", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉",
	"langle": "⟨", "rangle": "⟩",
	// signs
	"circ": "∘", "degree": "°", "degrees": "°", "prime": "'", "colon": ":", "ldots": "…", "dots": "…", "cdots": "…", "dotsc": "…",
	"dotsb": "…", "percent": "%", "dollar": "$", "textdollar": "$", "euro": "€", "pounds": "£", "emptyset": "∅", "varnothing": "∅",
	"And": "&", "surd": "√",
	// letters
	"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi", "varrho": "rho", "varsigma": "sigma",
	"imath": "i",
	// functions
	"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctg": "atan", "tg": "tan", "ctg": "cot", "cosec": "csc", "overrightarrow": "vec",
	"bar": "overline", "overbar": "overline",
}

// textual commands hold words.
var textual = set("text textbf textit textrm textsf texttt textnormal mbox hbox mathrm operatorname emph textup textmd")

var greek = set("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi " +
	"psi omega " +
	"Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar aleph partial nabla")

// functions of one argument that are compared by name and argument.
var functions = set("sin cos tan cot sec csc asin acos atan sinh cosh tanh coth log ln lg exp sqrt abs floor ceil gcd lcm max min " +
	"det arg deg " +
	"dim ker Re Im sgn sign cbrt")

// plainNames are words that mean the same without a backslash.
var plainNames = map[string]string{
	"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "inf": "infty", "oo": "infty", "infinity": "infty",
	"Infinity": "infty",
	"infty":    "infty", "pi": "pi", "Pi": "Pi", "binom": "binom", "binomial": "binom", "Abs": "abs", "factorial": "factorial",
	"ceiling": "ceil", "Fraction": "quotient", "Rational": "quotient",
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// unicodes are characters written as LaTeX.
var unicodes = map[rune]string{
	'π': `\pi `, 'α': `\alpha `, 'β': `\beta `, 'γ': `\gamma `, 'δ': `\delta `, 'ε': `\epsilon `, 'ϵ': `\epsilon `,
	'ζ': `\zeta `, 'η': `\eta `,
	'θ': `\theta `, 'ϑ': `\theta `, 'κ': `\kappa `, 'λ': `\lambda `, 'μ': `\mu `, 'ν': `\nu `, 'ξ': `\xi `, 'ρ': `\rho `,
	'σ': `\sigma `, 'τ': `\tau `,
	'φ': `\phi `, 'ϕ': `\phi `, 'χ': `\chi `, 'ψ': `\psi `, 'ω': `\omega `, 'Γ': `\Gamma `, 'Δ': `\Delta `, '∆': `\Delta `,
	'Θ': `\Theta `, 'Λ': `\Lambda `,
	'Σ': `\Sigma `, 'Φ': `\Phi `, 'Ψ': `\Psi `, 'Ω': `\Omega `, '∞': `\infty `, '∅': `\emptyset `, '⌀': `\emptyset `,
	'×': `\times `, '·': `\cdot `, '⋅': `\cdot `, '∙': `\cdot `,
	'•': `\cdot `, '∗': `*`, '÷': `/`, '∕': `/`, '⁄': `/`, '−': `-`, '±': `\pm `, '∓': `\mp `, '≤': `\le `,
	'≦': `\le `, '⩽': `\le `, '≥': `\ge `, '≧': `\ge `, '⩾': `\ge `,
	'≠': `\ne `, '≈': `\approx `, '≡': `\equiv `, '∪': `\cup `, '∩': `\cap `, '∖': `\setminus `, '∈': `\in `,
	'∉': `\notin `, '→': `\to `, '⇒': `\implies `,
	'∧': `\land `, '∨': `\lor `, '°': `^\circ `, 'º': `^\circ `, '∘': `\circ `, '′': `'`, '’': `'`, '‘': `'`,
	'“': `"`, '”': `"`, '…': `\ldots `, '⋯': `\ldots `, 'ℝ': `\mathbb{R}`,
	'ℤ': `\mathbb{Z}`, 'ℕ': `\mathbb{N}`, 'ℚ': `\mathbb{Q}`, 'ℂ': `\mathbb{C}`, '½': `\frac{1}{2}`, '⅓': `\frac{1}{3}`,
	'⅔': `\frac{2}{3}`, '¼': `\frac{1}{4}`, '¾': `\frac{3}{4}`,
	'⅕': `\frac{1}{5}`, '⅖': `\frac{2}{5}`, '⅗': `\frac{3}{5}`, '⅘': `\frac{4}{5}`, '⅙': `\frac{1}{6}`,
	'⅚': `\frac{5}{6}`, '⅛': `\frac{1}{8}`, '⅜': `\frac{3}{8}`, '⅝': `\frac{5}{8}`,
	'⅞': `\frac{7}{8}`, '\u00a0': `\,`, '\u2009': `\,`, '\u202f': `\,`, '\u2007': `\,`, '\u2002': ` `, '\u2003': ` `,
	'µ': `\mu `, '，': `, `, '、': `, `, '。': `.`, '〈': `\langle `, '〉': `\rangle `, '⟨': `\langle `, '⟩': `\rangle `,
	'⌊': `\lfloor `, '⌋': `\rfloor `,
	'⌈': `\lceil `, '⌉': `\rceil `, '‐': `–`, '‑': `–`, '—': `–`, '∣': `\mid `, '∠': `\angle `,
	'△': `\triangle `, 'ℓ': `\ell `, '∂': `\partial `,
}

const (
	superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ"
	superscribed = "0123456789+-()ni"
	subscripts   = "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙₘ"
	subscribed   = "0123456789+-()nm"
)

// scripts maps the raised and the lowered characters to those they show.
var scripts = func() map[rune]string {
	m := map[rune]string{}
	for _, p := range [][2]string{{superscripts, superscribed}, {subscripts, subscribed}} {
		for i, r := range []rune(p[0]) {
			m[r] = p[1][i : i+1]
		}
	}
	return m
}()

// spell writes characters outside of ASCII as LaTeX, x² as x^{2}. Composed and decomposed letters are one; marks of format, such as those
// of no width, are none.
func spell(s string) string {
	ascii := true
	for i := range len(s) {
		if s[i] >= 0x80 {
			ascii = false
			break
		}
	}
	if ascii {
		return s
	}
	s = norm.NFC.String(s)
	var b strings.Builder
	var open byte // of a script that is being written
	for _, r := range s {
		var script byte
		if _, ok := scripts[r]; ok {
			script = '^'
			if strings.ContainsRune(subscripts, r) {
				script = '_'
			}
		}
		if script != open {
			if open != 0 {
				b.WriteByte('}')
			}
			if open = script; open != 0 {
				b.WriteByte(open)
				b.WriteByte('{')
			}
		}
		switch {
		case script != 0:
			b.WriteString(scripts[r])
		case r >= 0xff01 && r <= 0xff5e: // full width
			if plain, ok := unicodes[r]; ok {
				b.WriteString(plain)
			} else {
				b.WriteRune(r - 0xfee0)
			}
		default:
			if plain, ok := unicodes[r]; ok {
				b.WriteString(plain)
			} else if !unicode.Is(unicode.Cf, r) {
				b.WriteRune(r)
			}
		}
	}
	if open != 0 {
		b.WriteByte('}')
	}
	return b.String()
}
