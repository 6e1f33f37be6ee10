package answer

import "strings"

// unitNames maps the spellings of a unit to one. Units are compared by name and never converted. What people count is in the list so
// that it may stand behind a number without \text.
var unitNames = func() map[string]string {
	m := map[string]string{}
	for _, line := range []string{
		"mm millimeter millimetre", "cm centimeter centimetre", "dm decimeter decimetre", "m meter metre", "km kilometer kilometre",
		"in inch inches", "ft foot feet", "yd yard", "mi mile", "nm nanometer", "mg milligram", "g gram gm gramme", "kg kilogram kilo",
		"lb lbs pound", "oz ounce", "t ton tonne", "ml mL milliliter millilitre", "L l liter litre", "gal gallon", "s sec second secs",
		"ms millisecond", "min minute mins", "h hr hour hrs", "day", "week", "month", "yr year", "decade", "century centuries", "N newton",
		"J joule", "kJ kilojoule", "W watt", "kW kilowatt", "V volt", "A amp ampere", "ohm", "Pa pascal", "kPa", "Hz hertz", "K kelvin",
		"mol mole", "cal calorie", "kcal", "rad radian", "° degree deg",
		"dollar dollars USD usd buck", "cent", "euro EUR", "yen", "rupee", "pound_", "penny pennies pence", "nickel", "dime", "quarter",
		"unit", "way", "point", "digit", "student", "people person", "apple", "orange", "ball", "marble", "book", "page", "card", "coin",
		"stamp", "meal", "edge", "vertex vertices", "face", "side", "diagonal", "triangle", "square_", "rectangle", "circle", "integer",
		"number", "solution", "root", "multiple", "boy", "girl", "child children", "man men", "woman women", "player", "team", "game", "ticket",
		"pencil", "pen", "cookie", "candy candies", "step", "time", "turn", "trip", "car", "seat", "row", "column", "block", "cube", "tile",
		"box boxes", "bag", "bottle", "cup", "piece", "part", "item", "arrangement", "combination", "permutation", "subset", "function", "pair",
		"path", "word", "letter", "outcome", "possibility possibilities", "mph", "kph kmh", "rpm", "acre", "hectare ha", "worker", "animal",
		"dog", "cat", "cow", "chicken", "fish", "flower", "tree", "egg",
	} {
		names := strings.Fields(line)
		canonical := strings.TrimSuffix(names[0], "_")
		for _, n := range names {
			n = strings.TrimSuffix(n, "_")
			if _, ok := m[n]; ok {
				continue
			}
			m[n] = canonical
			if len(n) >= 3 && !strings.HasSuffix(n, "s") {
				m[n+"s"] = canonical
			}
		}
	}
	m["mph"], m["kph"], m["kmh"] = "mi/h", "km/h", "km/h"
	m["inches"] = "in"
	return m
}()

// scales are words that multiply.
var scales = map[string]int64{"hundred": 100, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "dozen": 12}

// noUnit are words behind a number that change what it says.
var noUnit = set("and or not no if when mod modulo base is are was than more less over under about approximately around nearly almost at " +
	"least most to from with without except for where then but plus minus times divided by the of a an am pm percent percentage half halves " +
	"third thirds fourth tenth double twice per cent negative positive infinity infinite infinitely pi between both either neither any all " +
	"every each other only remainder " +
	"January February March April May June July August September October November December january february march april may june july " +
	"august september october november december BC AD BCE CE st nd rd th e i x y z n k")

// unitAt reads a unit behind an expression, from token i to the end of the item: its name, 0 or what a word like million multiplies by,
// and its length in tokens. In \text{…} a unit is whatever words there are; outside, what the list holds.
func (p *parser) unitAt(i int) (key string, scale int64, n int) {
	if p.at(i).kind != wordToken {
		return "", 0, 0
	}
	start := i
	if s := scales[strings.ToLower(p.at(i).text)]; s != 0 && (p.at(i).inText || p.at(i).space) {
		scale = s
		i++
		if p.end(i) {
			return "", scale, i - start
		}
	}
	if w := strings.ToLower(p.at(i).text); p.at(i).kind == wordToken && (w == "percent" || w == "pct") && p.end(i+1) {
		return "%", scale, i + 1 - start
	}
	if p.at(i).kind == wordToken && ordinals[p.at(i).text] && !p.at(i).space && p.end(i+1) {
		return "ordinal", scale, i + 1 - start
	}
	key, end := p.unitProduct(i)
	if end == i || !p.end(end) {
		return "", 0, 0
	}
	return key, scale, end - start
}

// unitProduct reads cm^2, square cm, m/s, meters per second, red marbles.
func (p *parser) unitProduct(i int) (key string, end int) {
	var parts []string
	first := i
	power := ""
	for len(parts) < 6 {
		t := p.at(i)
		next := p.at(i + 1)
		lower := strings.ToLower(t.text)
		switch {
		case t.kind == wordToken && (lower == "square" || lower == "sq" || lower == "cubic" || lower == "cu") && next.kind == wordToken &&
			!p.end(i+1):
			power = "^2"
			if lower[0] == 'c' {
				power = "^3"
			}
			i++
			if p.at(i).is(".") {
				i++
			}
			continue
		case t.is("/") && i > first && next.kind == wordToken, t.kind == wordToken && lower == "per" && i > first:
			parts = append(parts, "/")
			i++
			continue
		case t.is("*") && i > first && next.kind == wordToken:
			i++
			continue
		}
		if p.end(i) || t.kind != wordToken {
			break
		}
		name, ok := p.unitWord(t, i > first)
		if !ok {
			return "", first
		}
		i++
		exp, to := p.unitExponent(i)
		if to > i {
			power, i = exp, to
		}
		parts = append(parts, name+power)
		power = ""
	}
	if power != "" || len(parts) == 0 || len(parts) == 6 || parts[len(parts)-1] == "/" {
		return "", first
	}
	return strings.ReplaceAll(strings.Join(parts, " "), " / ", "/"), i
}

// unitWord is the name of a unit; a single letter is one only in \text, or behind another unit.
func (p *parser) unitWord(t token, inside bool) (string, bool) {
	if name, ok := unitNames[t.text]; ok && (t.inText || inside || len(t.text) > 1) {
		return name, true
	}
	lower := strings.ToLower(t.text)
	if name, ok := unitNames[lower]; ok && len(lower) > 2 {
		return name, true
	}
	if !t.inText || noUnit[t.text] || noUnit[lower] || functions[lower] || plainNames[lower] != "" || greek[t.text] || scales[lower] != 0 ||
		len(t.text) < 2 {
		return "", false
	}
	if len(lower) > 3 && !strings.HasSuffix(lower, "ss") {
		lower = strings.TrimSuffix(lower, "s")
	}
	return lower, true
}

// unitExponent reads ^2, ^{2}.
func (p *parser) unitExponent(i int) (exp string, end int) {
	if !p.at(i).is("^") {
		return "", i
	}
	open := p.at(i + 1).is("{")
	j := i + 1
	if open {
		j++
	}
	sign := ""
	if p.at(j).is("-") {
		sign = "-"
		j++
	}
	t := p.at(j)
	if !whole(t) || len(t.text) > 1 || open && !p.at(j+1).is("}") {
		return "", i
	}
	if open {
		j++
	}
	return "^" + sign + t.text, j + 1
}
