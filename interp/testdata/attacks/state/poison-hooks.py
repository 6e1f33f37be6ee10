# poison-hooks {"want": "ok|exception;ok|exception"}
import sys,builtins,importlib,codecs,signal,warnings,os
builtins.__import__=lambda *a: 1/0
builtins.print=builtins.compile=builtins.exec=builtins.eval=lambda *a,**k: 1/0
sys.path_hooks.insert(0,lambda p: 1/0)
codecs.register(lambda n: 1/0)
signal.signal(signal.SIGUSR1,lambda *a: 1/0)
sys.setswitchinterval(1000)
sys.setrecursionlimit(60)
# next cell
x=1
