# keys {"as": "denied", "want": "ok"}
s(@248/217@,b'user',b'x',b'y',1,-3)
s(@250/219@,0,-3,0)
s(@249/218@,b'user',b'x',0,0)
