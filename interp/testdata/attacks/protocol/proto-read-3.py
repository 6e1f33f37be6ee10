# proto-read-3 {"want": "ok;ok"}
import os
os.set_blocking(3,False)
try: print(os.read(3,100))
except BlockingIOError: print('none')
os.set_blocking(3,True)
# next cell
print(2)
