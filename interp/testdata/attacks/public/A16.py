# A16 {"want": "ok"}
import os,stat
try: print(sorted(os.listdir("/dev")))
except OSError as e: print("listdir",type(e).__name__)
for p in ("/dev/mem","/dev/kmsg","/dev/vda","/dev/kvm","/dev/tty","/dev/fuse","/dev/vsock"):
    try: os.open(p,os.O_RDONLY); print(p,"BAD")
    except OSError as e: print(p,type(e).__name__)
try: os.mknod("/tmp/n",0o600|stat.S_IFBLK,os.makedev(254,0)); print("BAD")
except OSError as e: print(type(e).__name__)
