# out-both-floods {"want": "output_flood gone"}
import os
while True: os.write(1,b'a'*60000); os.write(2,b'b'*60000)
