# out-huge-traceback {"want": "exc:ValueError alive"}
def f(n):
    if n: f(n-1)
    else: raise ValueError('x'*10**7)
f(500)
