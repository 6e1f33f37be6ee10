# proto-many-dups {"want": "protocol_violation gone"}
import os
for i in range(4,120): os.dup2(3,i)
for i in range(4,120): os.write(i,b'x')
