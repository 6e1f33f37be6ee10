# out-no-newline-flood {"want": "ok"}
import sys
for _ in range(5000): sys.stdout.write('a'*1000)
