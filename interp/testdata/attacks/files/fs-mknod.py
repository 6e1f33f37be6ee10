# fs-mknod {"as": "denied", "want": "ok"}
os.mknod('/tmp/c',0o600|0o20000,os.makedev(1,1))
os.mkfifo('/tmp/f')
os.open('/tmp/../dev/mem',0)
os.open('/dev/port',0)
os.open('/dev/mapper/control',2)
os.open('/dev/net/tun',2)
os.open('/dev/ptmx',2)
os.open('/dev/loop-control',2)
