# syntax {"want": "exc:SyntaxError alive"}
def f(:

