# del-everything {"want": "ok|exception;ok|exception|exited|timeout_wall|protocol_violation"}
import os,sys
for m in (os,sys):
    for n in list(vars(m)):
        try: delattr(m,n)
        except Exception: pass

# next cell
pass
