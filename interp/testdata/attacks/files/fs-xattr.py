# fs-xattr {"as": "denied", "want": "ok"}
os.setxattr('/tmp','user.x',b'y')
os.setxattr('/tmp','security.capability',b'y')
