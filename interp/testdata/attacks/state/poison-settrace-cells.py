# poison-settrace-cells {"want": "ok|exception|exited;ok|exception|exited|protocol_violation|timeout_wall"}
import sys,threading
def t(f,e,a):
    raise RuntimeError(e)
threading.settrace(t)
sys.settrace(t)
# next cell
print('next')
