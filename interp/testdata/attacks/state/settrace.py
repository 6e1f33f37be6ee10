# settrace {"want": "ok|exception|exited;ok|exception|exited|protocol_violation|timeout_wall"}
import sys,threading
def t(f,e,a): raise SystemExit(5)
sys.settrace(t); sys.setprofile(t)
# next cell
print(1)
