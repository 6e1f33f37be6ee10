# poison-exit-handlers {"want": "ok;ok"}
import atexit,threading,weakref,sys,os
atexit.register(os.write,1,b'BA'b'D')
threading._shutdown=lambda: os.write(1,b'BA'b'D')
sys.exitfunc=lambda: os.write(1,b'BA'b'D')
# next cell
import sys; sys.exit(0)
