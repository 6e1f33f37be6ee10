# exec {"as": "denied", "want": "ok"}
os.execv('/bin/sh',['sh'])
os.execv(sys.executable or '/usr/bin/python3',['python3','-c','print(1)'])
os.posix_spawn('/bin/true',['true'],{})
s(@322/281@,-100,b'/bin/sh',0,0,0)
