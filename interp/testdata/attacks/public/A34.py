# A34 {"want": "timeout_cpu gone|timeout_wall gone"}
import signal
for s in range(1,65):
    try: signal.signal(s,signal.SIG_IGN)
    except (OSError,ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
