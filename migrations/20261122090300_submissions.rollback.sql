drop table pliers.submissions;
