# builtins-tamper {"want": "ok|exception;ok|exception|exited|timeout_wall"}
import builtins
for n in list(vars(builtins)):
    if not n.startswith('__'): setattr(builtins,n,None)
# next cell
x=1
