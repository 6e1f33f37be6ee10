# out-invalid-flood {"want": "ok"}
import os
for _ in range(50): os.write(1,b'\xf0\x9f\x98'*20000)
