# poison-shared-pages {"want": "ok|exception|exited|timeout_wall|protocol_violation|crashed"}
import ctypes,sys,gc
# Every writable object of the fork server is a private copy: what is broken here is broken here alone.
for m in list(sys.modules.values()):
    for k in list(vars(m)):
        try: setattr(m,k,None)
        except BaseException: pass
