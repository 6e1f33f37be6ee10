# exec-memfd {"as": "denied", "want": "ok"}
os.memfd_create('x')
s(@319/279@,b'x',0)
s(447,0)
