# exec-eval-compile-loop {"want": "exc:RecursionError|crashed:SIGSEGV|exc:MemoryError"}
c=compile('exec(c,globals())','x','exec')
exec(c)
