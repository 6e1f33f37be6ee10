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
		"ms millisecond",
		"min minute mins", "h hr hour hrs", "day", "week", "month", "yr year", "decade", "century centuries", "N newton", "J joule",
		"kJ kilojoule", "W watt", "kW kilowatt",
		"V volt", "A amp ampere", "ohm", "Pa pascal", "kPa", "Hz hertz", "kelvin", "celsius centigrade", "fahrenheit", "mol mole",
		"cal calorie", "kcal", "rad radian", "° degree deg",
		"dollar dollars USD usd buck", "cent", "euro EUR", "yen", "rupee", "penny pennies pence", "nickel", "dime",
		"unit", "way", "points", "digit", "student", "people person", "apple", "orange", "ball", "marble", "book", "page", "card",
		"coin", "stamp", "meal",
		"edge", "vertex vertices", "face", "side", "diagonal", "triangle", "squares", "rectangle", "circle", "integer", "solution",
		"boy", "girl", "child children", "man men", "woman women", "player", "team", "game", "ticket", "pencil", "pen", "cookie", "candy candies",
		"step", "turn", "trip", "car", "seat", "row", "column", "block", "cubes", "tile", "box boxes", "bag", "bottle", "cup", "piece", "item",
		"arrangement", "combination", "permutation", "subset", "pair", "path", "word", "letter", "month", "year", "outcome",
		"possibility possibilities",
		"mph", "kph kmh", "rpm", "acre", "hectare ha", "worker", "animal", "dog", "cat", "cow", "chicken", "fish", "flower", "tree",
		"egg", "sheep", "duck", "horse", "pig", "rabbit", "bird", "bear", "lion", "mouse mice",
		"foot-pound", "teaspoon tsp", "tablespoon tbsp", "pint pt", "quart qt", "bit", "byte", "kilobyte KB kB", "megabyte MB",
		"gigabyte GB", "knot",
		"member", "teacher", "friend", "guest", "adult", "customer", "passenger", "voter", "visitor", "farmer", "soldier", "family families",
		"shirt", "hat", "shoe", "sock", "toy", "doll", "bead", "button", "ribbon", "rope", "brick", "bus buses", "bike", "bicycle",
		"truck", "boat", "ship",
		"pizza", "cake", "pie", "sandwich sandwiches", "cupcake", "banana", "pear", "peach peaches", "grape", "berry berries",
		"strawberry strawberries",
		"house", "room", "floor", "door", "window", "table", "chair", "shelf shelves", "class classes", "school", "city cities",
		"country countries",
		"match matches", "dish dishes", "glass glasses", "plate", "slice", "loaf loaves", "knife knives", "leaf leaves", "battery batteries",
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
var scales = map[string]int64{"hundred": 100, "thousand": 1e3, "lakh": 1e5, "lakhs": 1e5, "crore": 1e7, "crores": 1e7,
	"million": 1e6, "billion": 1e9, "trillion": 1e12, "dozen": 12}

// notCounted are words in the form of a plural that name nothing that is counted: numbers, what is done with numbers, verbs.
var notCounted = set("ones twos threes fours fives sixes sevens eights nines tens twenties dozens scores hundreds thousands " +
	"millions billions trillions " +
	"halves quarters thirds seconds quads times powers roots cubes logs logarithms factorials inverses reciprocals negatives positives " +
	"opposites " +
	"complements conjugates bases binaries decimals hexes octals percents percentages ratios fractions multiples losses debts deficits " +
	"debits overdrafts " +
	"decreases reductions discounts absolutes modulos remainders exponents sines cosines tangents wrongs falses falsehoods nones " +
	"errors mistakes " +
	"equals fails excludes includes exceeds repeats recurs diverges converges remains lies means gives makes owes loses lacks needs " +
	"works does has goes " +
	"always sometimes perhaps yes others lots whereas unless backs downs ups lefts rights norths souths easts wests belows aboves " +
	"minuses pluses nulls " +
	"doubles triples halfs squares infinities pis apiece googols grosses braces couples trios quartets parts bips permilles")

// qualities may stand before a noun that is counted, and change nothing of the number.
var qualities = set("red blue green yellow black white brown pink purple orange gold silver different distinct possible total whole " +
	"small large big little " +
	"new old extra additional unique such valid real complex lattice ordered unit prime even odd positive rational school math")

// counted reports whether a word in lower case is the plural of something that may be counted, by its ending.
func counted(w string) bool {
	if len(w) < 4 || !strings.HasSuffix(w, "s") || notCounted[w] || scales[strings.TrimSuffix(w, "s")] != 0 || functions[w] {
		return false
	}
	for _, ending := range []string{"ss", "us", "is", "ths", "wards", "ways", "ics", "'s"} {
		if strings.HasSuffix(w, ending) {
			return false
		}
	}
	return true
}

// unitAt reads a unit behind an expression, from token i to the end of the item: its name, 0 or what a word like million multiplies by,
// and its length in tokens. In \text{…} the last word of a unit may be any plural noun; outside, a unit is what the list holds.
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
	if p.at(i).text == "per" && p.at(i+1).text == "cent" && p.end(i+2) {
		return "%", scale, i + 2 - start
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
		case t.kind == wordToken && (lower == "square" || lower == "sq" || lower == "cubic" || lower == "cu") &&
			(next.kind == wordToken && !p.end(i+1) || next.is(".") && p.at(i+2).kind == wordToken):
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
		name, ok := p.unitWord(t, i > first || p.rate(i), p.end(i+1))
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

// rate reports whether m/s or g/L stands at token i, behind a number and a blank. Other letters may be symbols.
func (p *parser) rate(i int) bool {
	t, per := p.at(i), p.at(i+2)
	return i > 0 && p.toks[i-1].kind == numberToken && t.space && p.at(i+1).is("/") && per.kind == wordToken &&
		(t.text == "m" && per.text == "s" || t.text == "g" && per.text == "L")
}

// unitWord is the name of a unit, of something counted if the word is the last one, or of a quality of it. A single letter is a unit
// only in \text, or behind another unit.
func (p *parser) unitWord(t token, inside, last bool) (string, bool) {
	lower := strings.ToLower(t.text)
	if lower == "in" && !last || inside && lower == "in" {
		return "", false // 101 in binary
	}
	if name, ok := unitNames[t.text]; ok && (t.inText || inside || len(t.text) > 1) {
		return name, true
	}
	if name, ok := unitNames[lower]; ok && len(lower) > 2 {
		return name, true
	}
	switch {
	case !t.inText:
		return "", false
	case last && counted(lower):
		return strings.TrimSuffix(lower, "s"), true
	}
	return lower, !last && qualities[lower]
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
