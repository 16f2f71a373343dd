-- SPDX-License-Identifier: Apache-2.0
create table t(a integer, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000)
	insert into t select (i * 7919) % 100003, 'row ' || i from n;
create index ta on t(a);
select count(*), sum(a), max(b) from t where a between 1000 and 50000;
