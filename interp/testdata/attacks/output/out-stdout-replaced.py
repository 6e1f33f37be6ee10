# out-stdout-replaced {"want": "ok alive;ok alive", "has": "back"}
import sys
class W:
    def write(s,x): raise RuntimeError
    def flush(s): raise SystemExit(9)
sys.stdout=W()
sys.stderr=W()
# next cell
import sys; sys.stdout=sys.__stdout__; print('back')
