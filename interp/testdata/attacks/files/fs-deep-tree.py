# fs-deep-tree {"want": "ok|timeout_cpu|timeout_wall"}
import os
os.chdir('/tmp')
n=0
try:
    while True:
        os.mkdir('d'); os.chdir('d'); n+=1
except OSError as e: print(e.errno,n)
