# out-recursion {"want": "exc:RecursionError alive"}
def f(): f()
f()
