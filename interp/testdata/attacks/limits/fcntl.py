# fcntl {"as": "denied", "want": "ok"}
__import__('fcntl').fcntl(3,8,1)
__import__('fcntl').fcntl(3,10,9)
__import__('fcntl').fcntl(1,1031,1<<20)
__import__('fcntl').fcntl(os.open('/tmp',0),1026,4095)
__import__('fcntl').ioctl(0,0x5412,b'x')
