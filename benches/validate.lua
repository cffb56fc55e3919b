#!lua name=lottery
-- Stores a batch in Redis as a careful user would: validates each record, counts the winners, and
-- appends the batch to a stream. All of it happens or none of it.
--
--     FCALL store 2 STREAM COUNTER BATCH

local function days(year, month)
    if month == 2 then
        local leap = year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
        return leap and 29 or 28
    end
    return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31
end

redis.register_function('store', function(keys, args)
    local bets, winners = 0, 0
    for line in string.gmatch(args[1], '[^\n]+') do
        local first, last, document, year, month, day, number =
            string.match(line, '^([^;%c]*);([^;%c]*);([^;%c]*);(%d%d%d%d)%-(%d%d)%-(%d%d);(%d+)$')
        if not first or #first > 255 or #last > 255 or #document > 255 then
            return redis.error_reply('ERR bad record')
        end
        month, day = tonumber(month), tonumber(day)
        if month < 1 or month > 12 or day < 1 or day > days(tonumber(year), month) then
            return redis.error_reply('ERR bad date')
        end
        if tonumber(number) > 4294967295 then
            return redis.error_reply('ERR bad number')
        end
        if number == '7574' then
            winners = winners + 1
        end
        bets = bets + 1
    end
    redis.call('XADD', keys[1], '*', 'batch', args[1])
    redis.call('INCRBY', keys[2], winners)
    return bets
end)
