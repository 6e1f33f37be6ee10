# dev-good {"want": "ok"}
import os
print(len(open('/dev/urandom','rb').read(8)),len(open('/dev/zero','rb').read(8)),os.write(os.open('/dev/null',os.O_WRONLY),b'x'))
try: open('/dev/full','w').write('x')
except OSError as e: print(e.errno)
