# atexit {"want": "ok;ok"}
import atexit
atexit.register(lambda: print('BAD'))
# next cell
print('n')
