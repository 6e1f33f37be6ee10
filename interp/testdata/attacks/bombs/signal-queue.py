# signal-queue {"as": "native", "want": "ok|crashed", "wantC": "ok"}
for i in range(5000): l.kill(os.getpid(),34)
print('x')
