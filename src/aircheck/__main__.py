from aircheck.cli import main

main()
